"""What a clip is: one immutable value that travels between everything else."""
