"""Who is who in a whole dataset: faces of its tables of embeddings, searched, grouped, verified."""
