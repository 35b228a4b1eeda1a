"""Self-training rounds: a trained model's predictions on the target become labels of a plain nnU-Net dataset."""
