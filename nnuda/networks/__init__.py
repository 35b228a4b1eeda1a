"""What a method adds around nnU-Net's network: attention modules, image decoders, image encoders, heads."""
