r"""Mathematics: whether an answer equals the reference answer. Knows no completions."""
