# docker build -t sjedd .                                 for a CPU
# docker build -t sjedd --build-arg PYTORCH=cu130 .       for an NVIDIA GPU, with PyTorch's build of that name
# docker run --rm -v "$PWD:/work" sjedd SJEDD_predict.py --resume /work/ckpt.pth --input /work/clip.mp4 --output /work/out
FROM python:3.12-slim
ARG PYTORCH=cpu
WORKDIR /sjedd
COPY requirements.txt requirements-app.txt ./
RUN pip install --no-cache-dir torch torchvision --index-url "https://download.pytorch.org/whl/$PYTORCH" \
    && pip install --no-cache-dir -r requirements.txt -r requirements-app.txt
COPY . .
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python"]
CMD ["SJEDD_predict.py", "--help"]
