"""What the server counts, in the form that Prometheus reads."""

from collections.abc import Callable, Mapping, Sequence, Set
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
        self._requests = Counter(
            "ptapp_inference_requests", "Requests for an answer", (*_VERSION, "code"), registry=registry
        )
        self._seconds = Histogram(
            "ptapp_inference_request_duration_seconds",
            "From the head of a request to the end of its answer",
            _VERSION,
            buckets=_SECONDS,
            registry=registry,
        )
        self._waited = Histogram(
            "ptapp_inference_queue_duration_seconds",
            "How long a request waited for a thread",
            _VERSION,
            buckets=_SECONDS,
            registry=registry,
        )
        self._sizes = Histogram(
            "ptapp_inference_batch_size", "Samples of a request", _VERSION, buckets=_SIZES, registry=registry
        )
        depth = Gauge("ptapp_inference_queue_depth", "Requests that wait for a thread", registry=registry)
        depth.set_function(waiting)
        self.ready = Gauge("ptapp_ready", "1 where requests are welcome", registry=registry)
        self._predicted = Counter(
            "ptapp_inference_predictions", "Predicted classes and labels", (*_VERSION, "class"), registry=registry
        )
        self._confidence = Histogram(
            "ptapp_inference_confidence",
            "The probability of the predicted class",
            _VERSION,
            buckets=_CONFIDENCES,
            registry=registry,
        )
        self._shadowed = Counter(
            "ptapp_shadow_comparisons",
            "Answers that were compared with those of the shadow: same, other, failed or skipped",
            (*_VERSION, "shadow", "result"),
            registry=registry,
        )
        self._differences = Histogram(
            "ptapp_shadow_difference",
            "The greatest absolute difference of a number of an answer from that of the shadow",
            (*_VERSION, "shadow"),
            buckets=_DIFFERENCES,
            registry=registry,
        )

    def request(self, model: str, version: str, *, code: int, seconds: float) -> None:
        """A request for an answer has ended; `model` and `version` are empty where none was found for it."""
        self._requests.labels(model, version, str(code)).inc()
        self._seconds.labels(model, version).observe(seconds)

    def computed(self, model: str, version: str, *, waited: float, samples: int) -> None:
        """The samples of a request were computed, after it had waited some seconds."""
        self._waited.labels(model, version).observe(waited)
        self._sizes.labels(model, version).observe(samples)

    def answers(self, model: str, version: str, answers: Sequence[Mapping[str, Any]], *, classes: Set[str]) -> None:
        """The predicted ones of `classes`, and how sure the model was of them."""
        for answer in answers:
            for name in [answer.get("class"), *answer.get("labels", [])]:
                if name in classes:
                    self._predicted.labels(model, version, name).inc()
            if "confidence" in answer:
                self._confidence.labels(model, version).observe(answer["confidence"])

    def shadow(self, model: str, version: str, shadow: str, *, result: str, difference: float | None = None) -> None:
        """An answer was compared with that of the version `shadow`, or could not be."""
        self._shadowed.labels(model, version, shadow, result).inc()
        if difference is not None:
            self._differences.labels(model, version, shadow).observe(difference)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
