r"""Mathematics: the boxed answer of a completion, and whether it equals the reference answer."""
