"""A causal language model behind one `prefill` and one `step`.

Wraps a transformers model that is in memory already; its attention and its decoder layers become
those of `attention` and `fused_layers`. Token ids in, next-token logits out: knows no chains, no
samplers, no drafts, no chat templates and no files.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from powerblend.blends import Blend, HiddenBlend
from powerblend.engine import attention
from powerblend.engine.batch import Guesses, StepInputs
from powerblend.engine.cache import RaggedCache
from powerblend.engine.distributions import Logits
from powerblend.engine.falcon import plugged
from powerblend.engine.fused_layers import fused
from powerblend.engine.output import output_of
from powerblend.engine.prefix_tree import Pass, PrefixTree, States, TrackedCache
from powerblend.engine.recorded_layers import RecordedLayers
from powerblend.engine.survey import (
    SHORT_WINDOW,
    check_layers,
    check_states,
    set_attention,
    short_windows,
    survey,
)
from powerblend.engine.tiled_linear import tiled
from powerblend.engine.transfers import upload

DECODER_LAYER_NAMES = ("layers", "h", "blocks")
"""Names under which transformers' base models keep their decoder layers ..."""

FINAL_NORM_NAMES = ("norm", "final_layernorm", "final_layer_norm", "layer_norm", "ln_f", "norm_f")
"""... and the norm before ``lm_head``."""

CHECKED_LENGTHS = (14, 11, 7)
"""Tokens of the prompts on which a model is compared with itself: ragged, longer than windows."""


class Model:
    """A transformers causal language model that decodes ragged batches.

    Attributes
    ----------
    eos_token_ids
        The tokens that end an answer, one set for every condition.
    tokenizer
        The model's tokenizer, or None for a model of bare token ids; nothing here calls it.
    name, config
        What transformers calls the model, and its configuration of the text layers.
    device, dtype
        Where the weights are, and in which precision.
    decoder_layers, norm
        The decoder layers, and the norm before ``lm_head``.
    layer_attention
        What the attention of each decoder layer is.
    num_layers, hidden_size, vocabulary
        Number of decoder layers, and widths of the hidden states and of the logits.
    positions
        The longest prompt and answer that it has positions for, or None where it names no end.
    own_lengths
        Whether decode steps take each row's length from the device, whatever the longest is.
    block_size
        None: a step may feed a row any number of tokens.
    tokens_computed
        How many tokens have gone through the decoder layers since loading.
    """

    block_size: int | None = None

    def __init__(
        self,
        hf: PreTrainedModel,
        tokenizer: Any,
        eos_token_ids: Sequence[int],
        *,
        owned: bool = False,
    ) -> None:
        """Take over a model; ``owned`` if nobody else has it: then none of it is held twice."""
        self.tokenizer = tokenizer
        self.eos_token_ids = frozenset(eos_token_ids)
        self._source = None if owned else hf
        self._known: PrefixTree | None = None
        self.tokens_computed = 0
        self._take(hf if owned else _with_own_modules(hf))

    def refresh(self) -> None:
        """Take the weights anew from the model in memory that this one was made of.

        Some are kept in another layout, so a model that was trained since would go on with a
        mixture of old and new ones. One that was loaded from files is nobody else's, and stays.
        """
        if self._source is not None:
            self._take(_with_own_modules(self._source))
            if self._known is not None:
                self.remember(self._known.size, self._known.layers)

    def _take(self, hf: PreTrainedModel) -> None:
        """Put a model's modules in order for decoding."""
        self._hf = hf.eval()
        self.device: torch.device = self._hf.device
        self.dtype: torch.dtype = self._hf.dtype
        self.own_lengths = attention.has_kernel(self.device, self.dtype)
        self.config: Any = self._hf.config.get_text_config()
        self.name = str(getattr(self._hf.config, "_name_or_path", "")) or type(self._hf).__name__
        self.vocabulary = int(self._hf.get_output_embeddings().out_features)
        self._base = _backbone(self._hf)
        self.decoder_layers: nn.ModuleList = _one_of(self._base, DECODER_LAYER_NAMES)
        self.num_layers = len(self.decoder_layers)
        self._check_eos()
        self.positions = _fix_rotation(self._base, self.config)
        prompts = self._checked_prompts()
        # To be compared with itself as its authors wrote it.
        expected = self._own_logits(prompts)
        check_states(self.decoder_layers)
        self.layer_attention = survey(plugged(self._hf), self._base, self.decoder_layers)
        set_attention(self._hf, attention.ATTENTION_NAME)
        tiled(fused(self._hf))
        self._recorded = RecordedLayers(self._base)
        self._head, self._output = self._hf.get_output_embeddings(), output_of(self._hf)
        self.norm: nn.Module = _one_of(self._base, FINAL_NORM_NAMES)
        self.hidden_size = int(self._head.in_features)
        self._check_parity(prompts, expected)

    def remember(self, size: int, layers: Sequence[int] = ()) -> None:
        """Keep what is computed of strings, for whatever begins like them (`prefix_tree`).

        Parameters
        ----------
        size
            Bytes to keep it in; 0: forget all and keep nothing. Caches made before are of no use.
        layers
            Those whose outputs blends or drafts will read. What was kept without them is computed
            again.

        On a GPU nothing is kept: there, a token more in a step costs next to nothing.
        """
        cache_layers, _, heads, _, width = self._cache_shape(1, 1)
        keys = cache_layers, 2, heads, width
        self._known = None
        if size and self.device.type == "cpu":
            self._known = PrefixTree(size, keys, self.hidden_size, self.dtype)
            self._known.read(layers)

    def cache(self, slots: int, capacity: int, prefix: Any = None) -> RaggedCache:
        """An empty cache for ``slots`` rows of up to ``capacity`` tokens.

        ``prefix``, saved from another cache's slot, is what every row begins with.
        """
        if self._known is not None:
            shape = self._cache_shape(slots, capacity)
            return TrackedCache(shape, self.dtype, self.device, prefix)
        windows = [layer.window for layer in self.layer_attention]
        start = 0 if prefix is None else prefix.shape[3]
        copied = self.own_lengths and not attention.reads_apart(prefix, slots, windows)
        shape = self._cache_shape(slots, capacity, start)
        return RaggedCache(*shape, self.dtype, self.device, prefix, self.own_lengths, copied)

    def _cache_shape(
        self, slots: int, capacity: int, start: int = 0
    ) -> tuple[int, int, int, int, int]:
        """Layers, slots, heads, positions and width, for rows behind a prefix of ``start``."""
        kv_heads = max(layer.kv_heads for layer in self.layer_attention)
        width = max(max(layer.key_width, layer.value_width) for layer in self.layer_attention)
        if self.own_lengths:
            # flash-attn counts the queries that share keys as so many tokens of a row, and refuses
            # more than its cache has.
            capacity = max(capacity, start + self.config.num_attention_heads // kv_heads)
        return self.num_layers, slots, kv_heads, capacity, width

    def row_bytes(self, capacity: int) -> int:
        """Memory that a row of ``capacity`` tokens takes: keys, values, logits and their copies."""
        keys = RaggedCache(*self._cache_shape(1, 1), self.dtype, self.device).save(0, 0, 1)
        logits = 2 * 3 * torch.float32.itemsize * self.vocabulary
        return keys.numel() * keys.itemsize * capacity + logits

    @torch.inference_mode()
    def prefill(self, cache: RaggedCache, slots: slice, start: Tensor, tokens: Tensor) -> None:
        """Run ``tokens`` [rows, new] at positions ``start`` [rows] and on, for their keys."""
        positions = start[:, None] + torch.arange(tokens.shape[1])
        length = int(positions.max()) + 1
        self.forward(cache, slots, tokens, upload(positions.numpy(), self.device), length)

    def prepare(self, cache: RaggedCache, inputs: StepInputs, answer_lengths: Any) -> None:
        """Nothing: every step is the same work."""

    def drafted(self, cache: Any, rows: Sequence[int], firsts: Sequence[int]) -> list[list[int]]:
        """Nothing: it has no blocks."""
        return [[] for _ in rows]

    @torch.inference_mode()
    def step(self, cache: RaggedCache, inputs: StepInputs, blend: Blend | None = None) -> Logits:
        """Feed tokens to each of the first rows; return the logits of what follows each of them.

        Parameters
        ----------
        cache
            Holds the keys and values of everything before the positions fed.
        inputs
            What to feed, to slots 0, 1, ...
        blend
            What the target mixes in; the base logits come from the same pass.
        """
        layers = blend.layers_read if isinstance(blend, HiddenBlend) else ()
        final, outputs = self.feed(cache, inputs, layers)
        if not isinstance(blend, HiddenBlend):
            return self.guided(final[:, 0])
        source = blend.hidden(tuple(h[:, 0] for h in outputs), self)
        return self.guided(final[:, 0], source, blend)

    def feed(
        self, cache: RaggedCache, inputs: StepInputs, layers_read: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run what a step feeds, [fed, 1] tokens; returns as `forward` does."""
        rows = slice(0, inputs.num_rows)
        tokens, positions = inputs.tokens[:, None], inputs.positions[:, None]
        return self.forward(
            cache, rows, tokens, positions, inputs.length, layers_read, inputs.guesses
        )

    def forward(
        self,
        cache: RaggedCache,
        slots: slice,
        tokens: Tensor,
        positions: Tensor,
        length: int,
        layers_read: Sequence[int] = (),
        guesses: Guesses | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run tokens [rows, new]; what feeds ``lm_head``, and the outputs of ``layers_read``.

        All are [rows, new, hidden]; ``length`` is the largest position + 1. With ``guesses`` they
        are [fed, 1], of which a row has as many as it is fed.
        """
        wanted = Pass(slots, tokens, positions, length, layers_read, guesses)
        if self._known is not None and isinstance(cache, TrackedCache):
            return self._known.forward(self._run, cache, wanted)
        return self._run(cache, wanted)

    def _run(self, cache: RaggedCache, wanted: Pass) -> States:
        """What `forward` says, with every token computed."""
        self.tokens_computed += wanted.tokens.numel()
        windows = [layer.window for layer in self.layer_attention]
        states = self._recorded.forward(cache, wanted, windows)
        if states is not None:
            return states
        where = attention.Ragged(
            cache, wanted.slots, wanted.positions, wanted.length, windows, wanted.guesses
        )
        with self._outputs_of(wanted.layers_read) as outputs, attention.attending_to(where):
            final: Tensor = self._base(
                input_ids=wanted.tokens, position_ids=wanted.positions, use_cache=False
            ).last_hidden_state
        return final, tuple(outputs)

    def guided(
        self, final: Tensor, source: Tensor | None = None, blend: Blend | None = None
    ) -> Logits:
        """Logits of hidden states [rows, hidden]: the model's own, and with a source mixed in.

        Both come from one product with ``lm_head``.
        """
        if source is None or blend is None:
            base = self.logits(final)
            return Logits(base, base)
        base, mixed_in = self.logits(torch.cat([final, source])).chunk(2)
        return Logits(base, blend.mix(base, mixed_in))

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """The input embeddings of tokens."""
        embedded: Tensor = self._hf.get_input_embeddings()(tokens)
        return embedded

    def normalise(self, hidden: Tensor) -> Tensor:
        """The model's final norm."""
        return self.norm(hidden)

    @torch.inference_mode()
    def states(
        self, cache: RaggedCache, start: int, tokens: Tensor, layers: Sequence[int]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run ``tokens`` [rows, new] at position ``start`` and on, for their hidden states.

        Returns the final ones, which `logits` reads, and the outputs of some decoder layers; each
        is [rows, new, hidden].
        """
        length = start + tokens.shape[1]
        positions = torch.arange(start, length, device=self.device).expand_as(tokens)
        rows, tokens = slice(0, len(tokens)), tokens.to(self.device)
        return self.forward(cache, rows, tokens, positions, length, layers)

    def logits(self, hidden: Tensor) -> Tensor:
        """The model's ``lm_head``, in float32 or wider, scaled and capped as its authors do."""
        return self._scaled(self._head(hidden))

    def logits_of_some(self) -> Callable[[Tensor], Callable[[Tensor], Tensor]]:
        """From tokens [n] to what makes their `logits` [rows, n] of hidden states."""
        weight, bias = self._head.weight.detach(), self._head.bias

        def logits_of(tokens: Tensor) -> Callable[[Tensor], Tensor]:
            of_tokens = weight[tokens], None if bias is None else bias[tokens]
            return lambda hidden: self._scaled(nn.functional.linear(hidden, *of_tokens))

        return logits_of

    def _scaled(self, logits: Tensor) -> Tensor:
        return self._output.applied(logits.to(torch.promote_types(logits.dtype, torch.float32)))

    @contextmanager
    def _outputs_of(self, layers: Sequence[int]) -> Iterator[list[Tensor]]:
        """Collect the outputs [rows, new, hidden] of some decoder layers, in the order given."""
        outputs: list[Tensor] = [torch.empty(0)] * len(layers)

        def keep(index: int) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                outputs[index] = output[0] if isinstance(output, tuple) else output

            return hook

        hooks = [
            self.decoder_layers[layer].register_forward_hook(keep(index))
            for index, layer in enumerate(layers)
        ]
        try:
            yield outputs
        finally:
            for handle in hooks:
                handle.remove()

    def _check_eos(self) -> None:
        if not self.eos_token_ids:
            raise ValueError("the model names no EOS token: pass eos_token_ids=[...]")
        unknown = sorted(t for t in self.eos_token_ids if not 0 <= t < self.vocabulary)
        if unknown:
            raise ValueError(f"eos_token_ids {unknown} are outside 0 to {self.vocabulary - 1}")

    def _checked_prompts(self) -> list[Tensor]:
        """Prompts [1, tokens] of different lengths, all longer than a short window."""
        numbers = torch.arange(sum(CHECKED_LENGTHS), device=self.device)
        # Steps of 7 visit tokens out of order, so that positions and tokens do not go together.
        return [part[None] for part in (7 * numbers % self.vocabulary).split(list(CHECKED_LENGTHS))]

    @torch.inference_mode()
    def _own_logits(self, prompts: Sequence[Tensor]) -> Tensor:
        """The last logits [prompts, vocabulary] of the model as its authors run it."""
        before = self._hf.config._attn_implementation
        self._hf.set_attn_implementation("eager")
        with short_windows(self._hf):
            outputs = [self._hf(input_ids=prompt, use_cache=False).logits for prompt in prompts]
        set_attention(self._hf, before)
        return torch.stack([logits[0, -1] for logits in outputs])

    @torch.inference_mode()
    def _check_parity(self, prompts: Sequence[Tensor], expected: Tensor) -> None:
        """Refuse an architecture whose own last logits are not those that we have for prompts.

        All at once, in a prefill of ragged rows and a step; windows are short in both.
        """
        real = self.layer_attention
        self.layer_attention = [
            layer._replace(window=layer.window and SHORT_WINDOW) for layer in real
        ]
        ours = self._last_logits(prompts)
        self.layer_attention = real
        difference = (ours - expected).abs().max().item()
        tolerance = 0.05 if self.dtype.itemsize < torch.float32.itemsize else 1e-3
        if not difference <= tolerance * max(1.0, expected.abs().max().item()):
            raise ValueError(
                f"{type(self._hf).__name__} cannot be decoded here: its own logits differ from "
                f"lm_head(final hidden state) over a ragged cache by {difference:.3g}"
            )

    def _last_logits(self, prompts: Sequence[Tensor]) -> Tensor:
        """The last logits [prompts, vocabulary] over a ragged cache."""
        tokens = nn.utils.rnn.pad_sequence([prompt[0] for prompt in prompts], batch_first=True)
        rows, longest = tokens.shape
        last = torch.tensor([prompt.shape[1] - 1 for prompt in prompts])
        cache = self.cache(rows, longest)
        self.prefill(cache, slice(0, rows), torch.zeros(rows, dtype=torch.long), tokens[:, :-1])
        positions = last.to(self.device)
        fed = tokens[torch.arange(rows, device=self.device), positions]
        inputs = StepInputs(fed, positions, torch.ones_like(positions), longest)
        return self.step(cache, inputs).base


def check_architecture(hf: PreTrainedModel) -> int | None:
    """Its positions, as `Model.positions`, if nothing in its code speaks against decoding it.

    ``hf`` may be on torch's meta device, without weights; it is changed. What only shows when a
    model runs is left to `Model`.

    Raises
    ------
    ValueError
        In the sentence by which `Model` would refuse it.
    """
    backbone = _backbone(plugged(hf))
    check_layers(hf, _one_of(backbone, DECODER_LAYER_NAMES))
    _one_of(backbone, FINAL_NORM_NAMES)
    return _fix_rotation(backbone, hf.config.get_text_config())


def _fix_rotation(backbone: nn.Module, config: Any) -> int | None:
    """Keep rotary angles that change with the longest row as they are before they change.

    Answers would depend on their company otherwise. So the model has positions only up to the
    length at which they would, that of its training: that is returned, or all of its positions.
    """
    positions: int | None = getattr(config, "max_position_embeddings", None)
    for module in backbone.modules():
        kinds: Any = getattr(module, "rope_type", None)
        if kinds is None:
            continue
        by_layer = kinds if isinstance(kinds, dict) else {None: kinds}
        changing = {kind for kind in by_layer.values() if _changes_with_length(kind)}
        if changing:
            whole = config.rope_parameters
            parts = [whole.get(name, whole) for name in by_layer]
            lengths = [part.get("original_max_position_embeddings") for part in parts]
            known = [length for length in (*lengths, positions) if length is not None]
            positions = min(known, default=None)
            fixed = {k: "default" if v in changing else v for k, v in by_layer.items()}
            module.rope_type = fixed if isinstance(kinds, dict) else fixed[None]  # type: ignore[assignment]
    return positions


def _changes_with_length(kind: str) -> bool:
    return "dynamic" in kind or kind == "longrope"


def _with_own_modules(hf: PreTrainedModel) -> PreTrainedModel:
    """Same tensors, own modules and config: the caller's model is left as it was."""
    shared = {id(t): t for t in itertools.chain(hf.parameters(), hf.buffers())}
    return copy.deepcopy(hf, shared)


def _backbone(hf: PreTrainedModel) -> Any:
    """The text model between embeddings and ``lm_head``, of a multimodal wrapper too."""
    candidates = [hf.get_decoder(), hf.base_model, getattr(hf, "model", hf)]
    with_layers = [c for c in candidates if any(hasattr(c, name) for name in DECODER_LAYER_NAMES)]
    return next(iter(with_layers), candidates[0])


def _one_of(module: nn.Module, names: Sequence[str]) -> Any:
    for name in names:
        if hasattr(module, name):
            return getattr(module, name)
    raise ValueError(f"{type(module).__name__} has none of {', '.join(names)}: not supported")
