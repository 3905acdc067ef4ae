"""What is wrong with a task's images or with how a model sees them: labels, copies, mixed-up classes, preparation."""
