"""What notebooks call, and what a trained team is for: experiments, tidy results, questions, exports."""
