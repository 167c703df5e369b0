# One image for every part: `firstread listen | work | serve | db upgrade | ...`.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/firstread
ENV PATH=/opt/firstread/bin:$PATH
WORKDIR /src
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY triage triage
COPY dicom_node dicom_node
COPY models models
COPY worklist worklist
COPY workers workers
COPY firstread firstread
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin firstread \
    && install -d -o firstread -g firstread -m 0700 /data
COPY --from=build /opt/firstread /opt/firstread
ENV PATH=/opt/firstread/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FIRSTREAD_DATA=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 11112 8080
ENTRYPOINT ["firstread"]
CMD ["--help"]
