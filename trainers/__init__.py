"""What `nnUNetv2_train -tr` names: one thin file a method, named as its class."""
