"""The outputs of a report, one module a kind, each with `text(report) -> str`; all read the same verdict object.

For people: terminal, markdown, html, latex. For machines: tidy (CSV), json_report, junit, gitlab_metrics,
gha_benchmark. Inside a step of GitHub Actions: github.
"""
