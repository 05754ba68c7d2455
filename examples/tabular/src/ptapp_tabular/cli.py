"""`ptapp tabular`: the commands; each imports what it needs when it runs."""

from ptapp_core.cli.app import domain, verbs

app = verbs(
    domain("Tables: rows of numbers and categories to classes, labels or numbers."),
    domain="ptapp_tabular.domain:TABULAR",
    train="ptapp_tabular.config:TrainTabular",
    predict="ptapp_tabular.config:PredictTabular ptapp_tabular.predictor:predict",
)
