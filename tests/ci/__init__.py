"""The workflows of CI: what is said about them, and their shell steps, run as a runner runs them."""
