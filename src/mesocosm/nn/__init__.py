"""What networks are made of: sequence mixers and blocks. Nothing here knows of training or of the papers' claims."""
