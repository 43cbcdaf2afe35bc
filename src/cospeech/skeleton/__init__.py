"""Joint trees: what a skeleton is, SMPL-X and SMPL, forward kinematics, contact and mirroring."""
