FROM scratch
LABEL from=stdin
