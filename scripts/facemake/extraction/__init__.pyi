from facemake.crops import crop_face_from_frame as crop_face_from_frame
from facemake.extraction.result import Extraction as Extraction
from facemake.extraction.run import Pife as Pife
from facemake.extraction.run import extract_faces as extract_faces
from facemake.extraction.settings import TEMPLATES as TEMPLATES
