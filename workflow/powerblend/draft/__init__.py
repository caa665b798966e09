"""DFlash drafts: small block-diffusion models that read a target's hidden states.

A draft sees what the target thought of everything before a block, and the block's first token, and
predicts all of the block's other tokens at once (Chen, Liang & Liu, "DFlash: Block Diffusion for
Flash Speculative Decoding", arXiv 2602.06036). Here it is a second opinion to blend in, not a
proposal to verify. ``dflash`` is the network, ``guided`` the target and its draft as one language
model for the loop, ``training`` makes a draft where none is published.
"""
