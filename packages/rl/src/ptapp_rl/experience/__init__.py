"""What was played: rollouts, the replay buffer, and the returns computed from them."""
