# A server for one model: the package, nothing else. Built from the repository's root; runs as nobody in particular, on a
# read-only file system, and writes only to /state.
#   docker build -t fraudctl . && docker compose up
# For batch jobs, Kafka and object stores on the same image: --build-arg EXTRAS=serve,kafka,cloud,lake
FROM python:3.13-slim AS build
ARG EXTRAS=serve
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY fraudctl ./fraudctl
RUN python -m venv /opt/fraudctl \
    && /opt/fraudctl/bin/python -m pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.13-slim
RUN groupadd --gid 10001 fraudctl \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fraudctl \
    && install -d -o fraudctl -g fraudctl /state /model \
    && install -d /loops
COPY --from=build /opt/fraudctl /opt/fraudctl
# Loops are compiled here, once, for a level of processors that all machines have: `generic` is the lowest of the platform,
# x86-64-v3 is quicker on machines since 2013. Nobody writes to /loops later, and no start compiles anything.
ARG LOOPS_CPU=generic
ENV PATH=/opt/fraudctl/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/loops NUMBA_CPU_NAME=$LOOPS_CPU NUMBA_CPU_FEATURES=
RUN fraudctl warm && chmod -R a-w,a+rX /loops
USER 10001:10001
WORKDIR /state
VOLUME ["/state"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["fraudctl", "serve", "--host", "0.0.0.0", "--port", "8000", "--state", "/state", "--no-progress"]
CMD ["--model", "/model"]
