"""What the server counts, in the form that Prometheus reads."""

from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONFIDENCES = tuple(tenth / 10 for tenth in range(1, 11))
_DIFFERENCES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
_VERSION = ("model", "version")


class Metrics:
    """Counters and histograms by model and version. All labels have values from the models, never from a request."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        # Looking a counter up by its labels is a good part of what is done for a request, so each is kept.
        def counter(name: str, what: str, labels: Sequence[str]) -> Callable[..., Counter]:
            return cache(Counter(name, what, labels, registry=registry).labels)

        def histogram(
            name: str, what: str, labels: Sequence[str], *, buckets: Sequence[float] = _SECONDS
        ) -> Callable[..., Histogram]:
            return cache(Histogram(name, what, labels, buckets=buckets, registry=registry).labels)

        self._requests = counter("ptapp_inference_requests", "Requests for an answer", (*_VERSION, "code"))
        self._seconds = histogram(
            "ptapp_inference_request_duration_seconds", "From the head of a request to the end of its answer", _VERSION
        )
        self._waited = histogram(
            "ptapp_inference_queue_duration_seconds", "How long a request waited for a thread", _VERSION
        )
        self._sizes = histogram("ptapp_inference_batch_size", "Samples of a request", _VERSION, buckets=_SIZES)
        depth = Gauge("ptapp_inference_queue_depth", "Requests that wait for a thread", registry=registry)
        depth.set_function(waiting)
        self.ready = Gauge("ptapp_ready", "1 where requests are welcome", registry=registry)
        self._predicted = counter("ptapp_inference_predictions", "Predicted classes and labels", (*_VERSION, "class"))
        self._confidence = histogram(
            "ptapp_inference_confidence", "The probability of the predicted class", _VERSION, buckets=_CONFIDENCES
        )
        self._shadowed = counter(
            "ptapp_shadow_comparisons",
            "Answers that were compared with those of the shadow: same, other, failed or skipped",
            (*_VERSION, "shadow", "result"),
        )
        self._differences = histogram(
            "ptapp_shadow_difference",
            "The greatest absolute difference of a number of an answer from that of the shadow",
            (*_VERSION, "shadow"),
            buckets=_DIFFERENCES,
        )

    def request(self, model: str, version: str, *, code: int, seconds: float) -> None:
        """A request for an answer has ended; `model` and `version` are empty where none was found for it."""
        self._requests(model, version, str(code)).inc()
        self._seconds(model, version).observe(seconds)

    def computed(self, model: str, version: str, *, waited: float, samples: int) -> None:
        """The samples of a request were computed, after it had waited some seconds."""
        self._waited(model, version).observe(waited)
        self._sizes(model, version).observe(samples)

    def answers(self, model: str, version: str, answers: Sequence[Mapping[str, Any]], *, classes: Set[str]) -> None:
        """The predicted ones of `classes`, and how sure the model was of them."""
        for answer in answers:
            for name in [answer.get("class"), *answer.get("labels", [])]:
                if name in classes:
                    self._predicted(model, version, name).inc()
            if "confidence" in answer:
                self._confidence(model, version).observe(answer["confidence"])

    def shadow(self, model: str, version: str, shadow: str, *, result: str, difference: float | None = None) -> None:
        """An answer was compared with that of the version `shadow`, or could not be."""
        self._shadowed(model, version, shadow, result).inc()
        if difference is not None:
            self._differences(model, version, shadow).observe(difference)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
