"""What is stored, as pages that open from disk: tables, figures, coverage, runs and images."""
