"""Does the search work: samplers and schedulers on stand-ins for training, in seconds."""
