"""`--freeze` over the models of all tasks, bert among them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozen import check_frozen, some_parts
from nlp.cards import card_for
from ptapp_core.data.loader import Batch
from ptapp_core.kinds.known import kind_for
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.task import Task
from ptapp_nlp.data.encode import IGNORED
from ptapp_nlp.data.spelling import WIDTH
from ptapp_nlp.models import build
from ptapp_nlp.models.losses import VocabularyLoss
from ptapp_nlp.models.tasks import OUTPUTS, PathTask, TokenTask
from ptapp_nlp.recipes import MODELS, SUPERVISED

pytestmark = pytest.mark.slow

GPT2 = {"model_type": "gpt2", "vocab_size": 12, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}
BART = {
    **{"model_type": "bart", "vocab_size": 12, "d_model": 16, "pad_token_id": 0, "max_position_embeddings": 16},
    **dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2),
    **{"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "dropout": 0.5},
}
IDS = torch.tensor([[4, 5, 6, 7, 8, 9], [7, 8, 9, 0, 0, 0], [5, 10, 0, 0, 0, 0], [6, 6, 11, 4, 0, 0]])
OPTIONS = {"dim": 16, "hidden": 24, "layers": 2, "heads": 2, "dropout": 0.5, "bidirectional": True, "lora": None}
BERT = {
    **{"model_type": "bert", "vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 24, "max_position_embeddings": 16, "hidden_dropout_prob": 0.5},
}


def batch_of(task: str) -> Batch:
    if task == "classify":
        return {"input": IDS, "target": torch.tensor([0, 1, 2, 0])}
    if task in SUPERVISED:
        return {"input": IDS, "target": torch.eye(4, 3)}
    known = IDS != 0
    if task == "tag":
        return {"input": IDS, "target": (IDS % 3).masked_fill(~known, IGNORED), "units": known.sum()}
    name = {"translate": "source", "generate": "input"}[task]
    return {name: IDS, "target": IDS.flip(0), "units": known[:, 1:].sum()}


# Several targets at once, and vectors, have the models of classes, with another head.
CASES = [(task, name) for task, names in MODELS.items() for name in names if task not in ("multitask", "embed")]


@pytest.mark.parametrize(("task", "name"), CASES)
@settings(derandomize=True, deadline=None, max_examples=5)
@given(chosen=st.data())
def test_a_frozen_part_is_the_same_function_after_training(task: str, name: str, chosen: st.DataObject) -> None:
    torch.manual_seed(0)
    shape = {"pool": chosen.draw(st.sampled_from(["mean", "attention"])), "norm": "pre", **OPTIONS}
    card = card_for(task, name, shape, encoder={"causal": GPT2, "seq2seq": BART}.get(name, BERT))
    kind = kind_for(task, ["a", "b", "c"], torch.eye(3, dtype=torch.float64)) if task in SUPERVISED else None
    model = build(card, kind=kind)
    frozen = some_parts(chosen, model)
    learns: Task
    if kind:
        learns = kind.task(model, kind.loss(None, torch.eye(4, 3), weighed=False, label_smoothing=0.0))
    else:
        loss = VocabularyLoss() if task in ("translate", "generate") else CrossEntropy()
        learns = PathTask(model) if card.spelled else TokenTask(model, loss, OUTPUTS[task], pad=0)
    batch = batch_of(task)
    if card.spelled:
        batch["input"] = IDS.clamp(max=7)[:, :, None].expand(-1, -1, WIDTH)
    check_frozen(learns, model, frozen, batch)
