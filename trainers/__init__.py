"""What `nnUNetv2_train -tr` names: one thin file per method, named as its class."""
