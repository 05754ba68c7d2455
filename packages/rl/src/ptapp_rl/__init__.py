"""Reinforcement learning: DQN, REINFORCE, A2C and PPO on Gymnasium environments."""
