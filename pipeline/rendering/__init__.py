"""The numbers of a report as Markdown, HTML, figures and model cards."""
