"""The base of what is written as JSON and read again: immutable, and checked where it is read."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from powerblend.infrastructure.files import REMADE, DamagedFile, read_json
from powerblend.infrastructure.sentences import sentences


class Frozen(BaseModel):
    """A value whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The value that a file holds as JSON.

        Raises
        ------
        DamagedFile
            Naming the file and the first key that is not as it should be.
        """
        value = read_json(path)
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise DamagedFile(f"{path}: {next(sentences(error))}; {REMADE}") from None
