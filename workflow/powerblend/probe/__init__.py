"""The probe: what each layer of a model knows of a text, and what blending it in would change.

A text is read once, teacher-forced, and the hidden states of a sample of its tokens are kept
(`hidden_states`). Logits are made from them for a few tokens and one distribution at a time
(`measures`), so that no array of tokens x vocabulary x layers ever is. `run` has the front doors.
Knows chat templates and no chains.
"""
