"""The front door: a model, prompts and a way of decoding in, answers out."""
