"""Stop strings: an answer ends where its text first holds one, and its law is over such strings.

By enumeration, through `sample`, of every way of decoding; the texts of tokens of many tokenizers.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

import tiny
from enumeration import Ends, Floats, Space, String, at_eos, chi_squared
from kernel_enumeration import rungs_of
from kernel_laws import Source
from powerblend import Generation, sample
from powerblend.api.token_texts import token_texts
from powerblend.engine.endings import Ending
from table_model import TableModel
from test_exactness import NOT_REJECTED

CAP = 4
TEXTS = ("a", "", "ba")  # the one in the middle is EOS
STOPS = ["bab", "aaa"]  # completed by two tokens or three, in a token's middle too
STOP = {"max_new_tokens": CAP, "stop": STOPS}
POWER = STOP | {"sampler": "power", "alpha": 2.0, "blocks": 2, "steps": 3}
CONDITIONS: dict[str, dict[str, Any]] = {
    "greedy": STOP | {"sampler": "greedy"},
    "temp": STOP | {"sampler": "temperature", "temperature": 1.0},
    "ps": POWER,
    "ps_published": POWER | {"mh": "published", "blocks": 1},
    "cut": POWER | {"cut": "entropy", "cut_power": 2},
    "tries": POWER | {"tries": 2},
    "ladder": POWER | {"ladder": [1.2]},
    "csmc": STOP | {"sampler": "particles", "alpha": 2.0, "particles": 3, "sweeps": 5, "blocks": 2},
}


def words(texts: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens have these texts, the second being EOS."""
    named = {text or "<eos>": token for token, text in enumerate(texts)}
    core = Tokenizer(models.WordLevel(named, unk_token=texts[0]))
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")


def ends(string: String) -> bool:
    """As its text says."""
    text = "".join(TEXTS[token] for token in string)
    return string[-1] == tiny.EOS or any(stop in text for stop in STOPS)


@pytest.fixture(scope="module")
def table() -> Source:
    model: Any = TableModel(seed=41, vocabulary=3, eos=tiny.EOS, longest=CAP, prompt_tokens=2)
    model.tokenizer = words(TEXTS)
    return Source(model, [2, 0], model.reference)


def truth(source: Source, decoding: Mapping[str, Any], ending: Ends) -> tuple[Space, Floats]:
    """Every string and the distribution of the answer, where ``ending`` ends strings."""
    alpha = decoding.get("alpha", 1.0)
    exponents = [*decoding.get("ladder", ()), alpha]
    power = decoding.get("cut_power")
    rungs = rungs_of(source.logits({}), (3, ending, CAP), exponents, "base", power)
    space = rungs.spaces[-1]
    if decoding["sampler"] == "greedy":
        base, _ = source.logits({})(space.strings)
        best = [
            list(s) == z[: len(s)].argmax(-1).tolist()
            for s, z in zip(space.strings, base, strict=True)
        ]
        return space, np.where(space.states(CAP) & best, 1.0, 0.0)
    if decoding["sampler"] == "particles":
        return space, space.target(CAP)
    if decoding.get("mh") == "published":
        return space, space.first(CAP) @ np.linalg.matrix_power(space.kernel(CAP, "published"), 3)
    blocks, steps = decoding.get("blocks", 1), decoding.get("steps", 0)
    joint = rungs.distribution(CAP, blocks, steps, decoding.get("tries"), True)
    return space, joint.sum(tuple(range(joint.ndim - 1)))


def answers(source: Source, decoding: dict[str, Any], samples: int = 300) -> list[Generation]:
    return sample(source.model, [source.prompt], decoding, samples, seed=2, rows=512)[0]


def counts(space: Space, found: list[Generation]) -> NDArray[np.int64]:
    said = Counter(tuple(a.tokens) for a in found)
    assert set(said) <= set(space.strings)
    return np.array([said[s] for s in space.strings])


@pytest.mark.parametrize("condition", CONDITIONS)
def test_answers_follow_the_law_of_strings_that_end_so(condition: str, table: Source) -> None:
    space, exact = truth(table, CONDITIONS[condition], ends)
    assert exact.sum() == pytest.approx(1)
    found = answers(table, CONDITIONS[condition])
    assert chi_squared(counts(space, found), exact) > NOT_REJECTED
    if condition != "greedy":
        assert {a.finish for a in found} == {"eos", "stop", "length"}


def test_cutting_answers_that_were_drawn_without_is_another_law(table: Source) -> None:
    """As a text that is cut afterwards would be; without moves it is the same."""
    space, _ = truth(table, POWER, ends)
    for decoding, differs in ((POWER, True), (CONDITIONS["temp"], False)):
        whole, exact = truth(table, decoding, at_eos(tiny.EOS))
        after = np.zeros(len(space.strings))
        for string, chance in zip(whole.strings, exact, strict=True):
            lengths = range(1, len(string) + 1)
            head = next((string[:n] for n in lengths if ends(string[:n])), string)
            if chance:
                after[space.strings.index(head)] += chance
        fit = chi_squared(counts(space, answers(table, decoding)), after)
        assert fit < NOT_REJECTED / 100 if differs else fit > NOT_REJECTED


@pytest.mark.parametrize("condition", ["ps", "csmc"])
def test_a_cut_that_forgets_how_a_stop_string_began_is_noticed(
    condition: str, table: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ending, "state", lambda self, tokens: 0)
    space, _ = truth(table, CONDITIONS[condition], ends)
    said = Counter(tuple(a.tokens) for a in answers(table, CONDITIONS[condition], 40))
    assert set(said) - set(space.strings)


@pytest.mark.parametrize("condition", ["ps", "ladder"])
def test_rows_and_recorded_steps_change_nothing(
    condition: str, table: Source, request: pytest.FixtureRequest
) -> None:
    def known(rows: int) -> list[tuple[list[int], str, str | None]]:
        found = sample(table.model, [table.prompt], CONDITIONS[condition], 12, seed=3, rows=rows)[0]
        return [(a.tokens, a.finish, a.text) for a in found]

    alone = known(1)
    assert known(5) == alone
    request.getfixturevalue("recordings")
    assert known(5) == alone


def test_a_text_ends_before_what_ended_it(table: Source) -> None:
    for answer in answers(table, POWER, 60):
        whole = "".join(TEXTS[token] for token in answer.tokens)
        places = [whole.find(stop) for stop in STOPS if stop in whole]
        assert answer.text == (whole[: min(places)] if places else whole)
        assert (answer.finish == "stop") == bool(places)


BYTE_LEVEL = ["a", "Ġb", "Ċ", "Ã", "©", "<eos>"]
PIECES = ["a", "▁b", "<0x0A>", "<0xC3>", "<0xA9>", "<eos>"]
SENTENCEPIECE = decoders.Sequence(
    [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
)


@pytest.mark.parametrize(
    ("named", "decoder"), [(BYTE_LEVEL, decoders.ByteLevel()), (PIECES, SENTENCEPIECE)]
)
def test_tokens_have_the_bytes_that_they_add_to_a_text(named: list[str], decoder: Any) -> None:
    """Spaces at the front and parts of characters too; special tokens add none, others do."""
    core = Tokenizer(models.BPE({word: i for i, word in enumerate(named)}, []))
    core.decoder = decoder
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    tokenizer.add_tokens([AddedToken("<tab é>", special=False)])
    texts = token_texts(tokenizer, 8)
    assert texts == [b"a", b" b", b"\n", b"\xc3", b"\xa9", b"", "<tab é>".encode(), b""]
    ending = Ending([5], ["é b".encode()], texts)
    states = [ending.finish(np.array(s)) for s in ([3, 4], [3, 4, 1], [0, 6, 1], [3, 4, 5])]
    assert states == ["length", "stop", "length", "eos"]


def test_a_stop_string_needs_a_tokenizer_and_a_text(table: Source) -> None:
    bare = TableModel(seed=1, vocabulary=3, eos=tiny.EOS, longest=CAP, prompt_tokens=2)
    with pytest.raises(ValueError, match=r"stop is .*, which needs a tokenizer: load the model"):
        sample(bare, [[2, 0]], POWER)
    with pytest.raises(ValueError, match=r"decoding.stop"):
        sample(table.model, [[2, 0]], POWER | {"stop": [""]})
