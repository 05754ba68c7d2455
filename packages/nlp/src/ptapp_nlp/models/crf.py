"""A conditional random field over the tags of a sentence (Lafferty et al. 2001), as a linear chain.

The score of a path of tags y is start[y_1] + sum_t scores[t, y_t] + sum_t transitions[y_(t-1), y_t] + end[y_L]; its
probability is the softmax of that over all paths. The functions below are written for TorchScript too, so that an
export keeps their loops over sentences of any length.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_nlp.entities import allowed

_BARRED = -1e4  # finite, so that no difference of two of them is a NaN
_LEAST = 1e-30  # the least probability that is told from 0


class CRF(nn.Module):
    """Transitions between `tags`; those that the tags of BIO rule out cannot be learned, nor be part of an answer."""

    barred: Tensor
    barred_start: Tensor

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        count = len(tags)
        self.transitions = nn.Parameter(torch.zeros(count, count))
        self.start, self.end = nn.Parameter(torch.zeros(count)), nn.Parameter(torch.zeros(count))
        first, after = map(torch.tensor, allowed(tags))
        self.register_buffer("barred", torch.where(after, 0.0, _BARRED), persistent=False)
        self.register_buffer("barred_start", torch.where(first, 0.0, _BARRED), persistent=False)

    def forward(self, scores: Tensor, target: Tensor, real: Tensor) -> Tensor:
        """The sum over sentences of -log p(target | scores), a float32 scalar.

        Scores are float (N, L, K), targets int64 (N, L), and `real`, bool (N, L), is true at words and false at the
        padding on their right.
        """
        scores, transitions = self._bounded(scores, real)
        total = torch.logsumexp(summed(scores, real, transitions)[:, -1], 1)
        target = target.clamp(min=0)
        own = scores.gather(2, target[:, :, None]).squeeze(2)
        steps = transitions[target[:, :-1], target[:, 1:]]
        path = (own * real).sum(1) + (steps * real[:, 1:]).sum(1)
        return (total - path).sum()

    def best(self, scores: Tensor, real: Tensor) -> Tensor:
        """The likeliest path (Viterbi 1967): float32 (N, L, K), which holds the marginal probability of each of its
        tags at the place of that tag, and 0 elsewhere. Scores are float (N, L, K), `real` is bool (N, L).

        Raises NotImplementedError under torch.export, which would fix the length of a sentence.
        """
        if torch.compiler.is_exporting():
            raise NotImplementedError("the loop of a random field over words has no form there; give --format onnx")
        scores, transitions = self._bounded(scores, real)
        sums, sums_back, path = summed, summed_back, likeliest
        jit: Any = torch.jit
        if jit.is_tracing():  # a trace would have the length of its example
            scripted = jit.script
            sums, sums_back, path = scripted(summed), scripted(summed_back), scripted(likeliest)
        marginal = (sums(scores, real, transitions) + sums_back(scores, real, transitions)).softmax(2)
        chosen = path(scores, real, transitions)[:, :, None]
        tags = torch.arange(scores.shape[2], device=scores.device)
        return torch.where(tags == chosen, marginal.clamp(min=_LEAST), 0.0)

    def _bounded(self, scores: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """The scores with those of a first and of a last tag, and the transitions, without what is barred."""
        last = real & ~torch.cat([real[:, 1:], torch.zeros_like(real[:, :1])], 1)
        scores = scores.float() + last[:, :, None] * self.end
        first = scores[:, :1] + self.start + self.barred_start
        return torch.cat([first, scores[:, 1:]], 1), self.transitions + self.barred


def summed(scores: Tensor, real: Tensor, transitions: Tensor) -> Tensor:
    """The log of the summed exp(score) of all paths that end at each word in each tag: float (N, L, K), and so are the
    scores; `real` is bool (N, L) and transitions are float (K, K). At padding it is that of the last word."""
    words = scores.unbind(1)
    state = words[0]
    found = [state]
    for place in range(1, len(words)):
        after = torch.logsumexp(state[:, :, None] + transitions, 1) + words[place]
        state = torch.where(real[:, place, None], after, state)
        found.append(state)
    return torch.stack(found, 1)


def summed_back(scores: Tensor, real: Tensor, transitions: Tensor) -> Tensor:
    """The same of all paths that follow each word and its tag: float (N, L, K) of scores (N, L, K), `real` bool (N, L)
    and transitions, float (K, K)."""
    words = scores.unbind(1)
    state = torch.zeros_like(words[0])
    found = [state]
    for step in range(1, len(words)):
        place = len(words) - step
        before = torch.logsumexp(transitions + (words[place] + state)[:, None, :], 2)
        state = torch.where(real[:, place, None], before, state)
        found.append(state)
    return torch.stack(found, 1).flip(1)


def likeliest(scores: Tensor, real: Tensor, transitions: Tensor) -> Tensor:
    """The tags of the path of the highest score: int64 (N, L) of scores, float (N, L, K), `real` bool (N, L) and
    transitions, float (K, K). Padding has the tag of the last word."""
    words = scores.unbind(1)
    state = words[0]
    same = torch.arange(scores.shape[2], device=scores.device).expand_as(state)
    origins = [same]
    for place in range(1, len(words)):
        best, origin = (state[:, :, None] + transitions).max(1)
        keep = real[:, place, None]
        state = torch.where(keep, best + words[place], state)
        origins.append(torch.where(keep, origin, same))
    tag = state.argmax(1, keepdim=True)
    path = [tag]
    for step in range(1, len(words)):
        tag = origins[len(words) - step].gather(1, tag)
        path.append(tag)
    return torch.cat(path, 1).flip(1)
