"""One thread for every test and the processes it starts: the networks are tiny, and a second thread only waits.

Generated examples are the same in every run, and have no deadline: no test measures time.
"""

import os

import torch
from hypothesis import HealthCheck, settings

os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
settings.register_profile("ptapp", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ptapp")
