"""The paper's tables from stored runs, from the published numbers, or both side by side."""
