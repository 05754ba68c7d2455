"""One thread for every test and the processes it starts: the networks are tiny, and a second thread only waits."""

import os

import torch

os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
