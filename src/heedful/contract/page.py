def lines(report):
    return [str(j) for j in report.judgements]
