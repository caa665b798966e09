"""One question, answered in four ways: what each answer is worth to the model, and what it cost.

    .venv/bin/python examples/sample.py
    .venv/bin/python examples/sample.py MODEL "QUESTION"

The first form needs the demo's model, which `make demo` fetches.
"""

import sys

from powerblend import load_model, sample

MODEL = "results/models/smollm2-135m-instruct"
QUESTION = "Tom has 5 apples and eats 2. How many are left?"
POWER = {"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 8, "steps": 2}


def main(source: str = MODEL, question: str = QUESTION) -> None:
    """Answer the question and print a line for each way of decoding."""
    model = load_model(source)
    late = {"source": "layer", "layer": model.num_layers - 3, "beta": 0.02}
    decodings = {
        "greedy": {"sampler": "greedy", "max_new_tokens": 64},
        "low temperature": {"sampler": "temperature", "alpha": 4.0, "max_new_tokens": 64},
        "power sampling": POWER,
        "power sampling, blended": POWER | {"blend": late},
    }
    prompt = [{"role": "user", "content": question}]
    for name, decoding in decodings.items():
        ((answer,),) = sample(model, [prompt], decoding, seed=1)
        print(f"{name}: log p {answer.log_p:.1f}, {answer.decoded_tokens} tokens decoded")
        print(f"    {answer.text!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
