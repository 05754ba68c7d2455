"""Reinforcement learning: DQN, REINFORCE, A2C, PPO, SAC, TD3 and DDPG on Gymnasium environments."""
