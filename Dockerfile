# litepred on the CPU, serving: docker build -t litepred . && docker run --rm -p 8000:8000 litepred
# With a model of yours: docker run --rm -p 8000:8000 -v "$PWD/models:/models:ro" litepred --config /models/model.safetensors
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/litepred
ENV PATH="/opt/litepred/bin:$PATH"
# torch's build for the CPU, a fifth of the one for CUDA
RUN pip install "torch>=2.4" "torchvision>=0.19" --index-url https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE NOTICE ./
COPY litepred litepred
COPY weights weights
# OpenCV without windows, which needs no libraries of a desktop; the versions are those of pyproject.toml
# hadolint ignore=DL3013
RUN pip install ".[serve]" \
    && pip uninstall -y opencv-python \
    && pip install "opencv-python-headless>=4.12" \
    && pip uninstall -y pip

FROM python:3.12-slim
# the cache belongs to the user, also where it is a volume
RUN useradd --create-home --uid 10001 litepred && install -d -o litepred -g litepred /home/litepred/cache
COPY --from=build /opt/litepred /opt/litepred
ENV PATH="/opt/litepred/bin:$PATH" LITEPRED_SERVE_HOST=0.0.0.0 LITEPRED_CACHE=/home/litepred/cache
USER 10001
WORKDIR /home/litepred
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"LITEPRED_SERVE_PORT\", 8000)}/health', timeout=4)"]
ENTRYPOINT ["litepred", "serve"]
