"""Who is who: faces of pictures found and embedded, without a run of the workflow."""
