# docker build --tag mixer-bench .                                     CPU
# docker build --tag mixer-bench:cuda --build-arg TORCH=cu130 .        NVIDIA GPUs; docker run --gpus all
# docker run --rm --user "$(id -u)" --volume "$PWD:/work" mixer-bench run --task images/ --model mixer_nano
FROM python:3.13-slim AS wheel
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.13-slim
# cpu, or the name of a CUDA version that PyTorch builds for (https://pytorch.org/get-started/locally)
ARG TORCH=cpu
# the newest there: what the package needs is its own to say
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --index-url "https://download.pytorch.org/whl/${TORCH}" torch torchvision
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl
# whoever runs it may write to its caches, also one whom it does not know; USER is what libraries ask for a name
ENV MIXER_BENCH_CACHE=/cache HF_HOME=/cache/huggingface HOME=/cache USER=bench
RUN mkdir --mode 1777 /cache /work
# a number: Kubernetes refuses a name where it must not be root
USER 1000
WORKDIR /work
ENTRYPOINT ["mixer-bench"]
CMD ["--help"]
