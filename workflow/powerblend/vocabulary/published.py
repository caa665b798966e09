"""Others' numbers, which a study's are set beside: the types of ``resources/published.yaml``."""

from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, ValidationError

from powerblend.infrastructure.sentences import sentences
from powerblend.vocabulary.frozen import Frozen


class PublishedSource(Frozen):
    """Who found numbers, and how: ``settings`` are those of their power sampling."""

    label: str
    citation: str
    url: str | None
    dataset: str | None
    problems: int | None
    settings: dict[str, float]
    note: str


class PublishedResult(Frozen):
    """An accuracy, as a share; ``role`` is what kind of decoding it is of."""

    source: str
    model: str
    method: str
    role: str
    accuracy: float
    correct: int | None = None


class PublishedRanks(Frozen):
    """Ranks of the text's token."""

    mean_rank: float
    median_rank: float


class PublishedLayer(PublishedRanks):
    """Those of a decoder layer alone."""

    layer: int


class PublishedBlend(Frozen):
    """How often a blend ranks the text's token better than the model does."""

    layer: int
    beta: float
    better: float
    hard_better: float


class PublishedDraft(Frozen):
    """The mean rank of the text's token under a draft."""

    mean_rank: float


class PublishedProbe(Frozen):
    """Others' probe of a model's layers, all with the same ``norm``."""

    label: str
    citation: str
    model: str
    dataset: str
    examples: int
    norm: str
    final: PublishedRanks
    layers: tuple[PublishedLayer, ...]
    blend: PublishedBlend
    draft: PublishedDraft


class PublishedNumbers(Frozen):
    """All that a study is compared with; empty where nothing is."""

    sources: dict[str, PublishedSource] = Field(default_factory=dict)
    results: tuple[PublishedResult, ...] = ()
    probe: PublishedProbe | None = None

    @classmethod
    def read_yaml(cls, path: Path) -> Self:
        """The numbers that a YAML file holds.

        Raises
        ------
        ValueError
            Naming the file and what in it is not as it should be.
        """
        try:
            value = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls.model_validate({} if value is None else value)
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not YAML ({error})") from None
        except ValidationError as error:
            raise ValueError(f"{path}: {'; '.join(sentences(error))}") from None
