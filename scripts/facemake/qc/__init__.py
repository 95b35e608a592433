"""What a careful person would look at first in the results of a run."""
