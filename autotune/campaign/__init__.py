"""Campaigns: lists of kernels, shapes and peers that are measured on one device, in slices of time."""

from __future__ import annotations
