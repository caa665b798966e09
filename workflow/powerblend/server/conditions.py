"""From a request to a way of decoding: that of its model's name, with the keys that it brings.

`smollm2:ps` is the condition `ps` of the model `smollm2`. Without one, and without a sampler of its
own, a request draws at its temperature, as the API has it. Knows no HTTP.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from powerblend.samplers import SAMPLERS, Sampler, parse_sampler
from powerblend.server.requests import Body

DEFAULT_MAX_TOKENS = 256
"""Longest answer where neither the request nor its condition names one."""


class UnknownModel(Exception):
    """There is no model of this name, or no such condition of it."""


class Conditions:
    """The names under which a model is asked for, and the way of decoding of each."""

    def __init__(self, model_name: str, named: Mapping[str, Sampler]) -> None:
        self.model_name = model_name
        self._named = {f"{model_name}:{name}": sampler for name, sampler in named.items()}

    @property
    def names(self) -> list[str]:
        """The model's, then that of each condition."""
        return [self.model_name, *self._named]

    def check(self, name: str) -> None:
        """Raise `UnknownModel` for what is none of the names."""
        if name not in self.names:
            raise UnknownModel(f"there is no model {name!r}; use one of {', '.join(self.names)}")

    def sampler(self, body: Body) -> Sampler:
        """How to answer a request.

        Raises
        ------
        UnknownModel
            If its model is none of the names.
        ValueError
            If a key is unknown or its value not allowed (pydantic.ValidationError).
        """
        self.check(body.model)
        decoding = self._decoding(body)
        if body.max_tokens is not None:
            decoding["max_new_tokens"] = body.max_tokens
        decoding.setdefault("max_new_tokens", DEFAULT_MAX_TOKENS)
        if body.stops:
            decoding["stop"] = list(body.stops)
        return parse_sampler(decoding)

    def _decoding(self, body: Body) -> dict[str, JsonValue]:
        condition = self._named.get(body.model)
        if condition is not None:
            # Clients send a temperature unasked: it is the condition that was asked for.
            return condition.model_dump(mode="json", exclude_none=True) | body.decoding
        if body.decoding:
            _check_named(body.decoding)
            return _with_temperature(body.decoding, body.temperature)
        if body.temperature == 0:
            return {"sampler": "greedy"}
        return _with_temperature({"sampler": "temperature", "temperature": 1.0}, body.temperature)


def _check_named(decoding: Mapping[str, JsonValue]) -> None:
    """Refuse keys without the sampler whose keys they may be; a client's own are such too."""
    if decoding.get("sampler") is None:
        keys = ", ".join(decoding)
        raise ValueError(
            f"{keys}: no parameter of this server, nor a key of a way of decoding, for sampler is "
            f"None; use one of {', '.join(SAMPLERS)}"
        )


def _with_temperature(
    decoding: dict[str, JsonValue], temperature: float | None
) -> dict[str, JsonValue]:
    """A way of decoding at a request's temperature, where it has one."""
    if decoding.get("sampler") != "temperature" or temperature is None:
        return decoding
    return {key: v for key, v in decoding.items() if key != "alpha"} | {"temperature": temperature}
