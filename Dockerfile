# One image for web, worker and Flower; docker-compose.yml says what each runs. It has no TensorFlow: OpenVINO on the CPU.
# The target `gpu` has TensorFlow with NVIDIA's libraries instead: docker build --target gpu
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
RUN python -m venv /opt/speaker-tasks
ENV PATH=/opt/speaker-tasks/bin:$PATH
WORKDIR /build
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY speaker_tasks speaker_tasks
COPY web web
COPY enrollment enrollment
COPY banks banks
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

FROM build AS build-gpu
COPY requirements-gpu.lock .
RUN pip install --no-cache-dir --require-hashes --requirement requirements-gpu.lock

FROM ${BASE} AS runtime
RUN useradd --uid 10001 --create-home speaker && install -d -o speaker -g speaker /data
ENV PATH=/opt/speaker-tasks/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SPEAKER_HOST=0.0.0.0 \
    SPEAKER_PORT=6001 \
    SPEAKER_FLOWER_PORT=5555 \
    SPEAKER_DATA_DIR=/data
USER speaker
WORKDIR /data
VOLUME /data
EXPOSE 6001 5555
CMD ["speaker-tasks", "--help"]

FROM runtime AS gpu
COPY --from=build-gpu /opt/speaker-tasks /opt/speaker-tasks

FROM runtime
COPY --from=build /opt/speaker-tasks /opt/speaker-tasks
