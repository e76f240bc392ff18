# docker build -t scoresde .                          for CPUs
# docker build -t scoresde --build-arg DEVICE=cuda .  with the CUDA libraries that torch's own wheel brings
# docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" scoresde sde=vp sampler=pc     (CUDA: add --gpus all)
FROM python:3.12-slim

ARG DEVICE=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /opt/scoresde
COPY constraints.txt ./
# torch first and alone: it is the large layer, and the only one that differs.
RUN torch="$(grep '^torch==' constraints.txt)" && \
    case "$DEVICE" in \
      cpu) pip install --index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple "$torch" ;; \
      cuda) pip install "$torch" ;; \
      *) echo "DEVICE=$DEVICE: give cpu or cuda" >&2; exit 1 ;; \
    esac

COPY pyproject.toml README.md LICENSE run.py ./
COPY conf ./conf
COPY scoresde ./scoresde
RUN pip install -c constraints.txt '.[all]'

RUN useradd --create-home --uid 1000 scoresde && mkdir /work && chown scoresde /work
USER scoresde
# Of whoever --user names: matplotlib and wandb keep their own files there.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib WANDB_MODE=offline
WORKDIR /work
ENTRYPOINT ["scoresde"]
CMD ["--help"]
