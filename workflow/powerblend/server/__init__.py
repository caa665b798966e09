"""The OpenAI API over the one engine: requests in, answers of its continuous batch out.

`conditions` makes a request a way of decoding, `engine_thread` runs the batch, `responses` says
answers as the API does, and `application` is what listens. Knows no study.
"""
