from facemake.recognition.backend import create_backend as create_backend
from facemake.recognition.config import BackendInfo as BackendInfo
from facemake.recognition.config import Config as Config
from facemake.recognition.config import RuntimeKind as RuntimeKind
from facemake.recognition.config import backend_info_from_env as backend_info_from_env
